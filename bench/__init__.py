"""Speed bars, measured side by side against peers: ``python -m bench --help``.

Machines differ and are noisy, so a bar is judged by what ours and its reference did in the same run: in every round
each candidate has its turn, the order rotates, and the verdict is on the median of the rounds' ratios.
"""
