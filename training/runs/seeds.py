"""Seeds for streams of random numbers that have nothing to do with each other."""


def derived_seed(*numbers: int) -> int:
    """63 bits that any of the numbers changes wholly; the same ones on every machine."""
    state = 0
    for number in numbers:
        state = (state ^ (number + 0x9E3779B97F4A7C15)) & 0xFFFFFFFFFFFFFFFF
        # The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1
