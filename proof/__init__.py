"""The proof of the engine: experiments, benchmarks, faults and the capacity model. All of it talks HTTP."""
