"""The CPU work of the comparison: line by line that of the service's lab, so that both do the same."""


def spin(iterations: int) -> int:
    number = 1
    for _ in range(iterations):
        number = (number * 48271) % 2147483647
    return number
