"""How much of everything a load needs: arithmetic on measured costs, and a simulation that is held against measurements."""
