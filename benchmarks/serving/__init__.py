"""Kedge beside other model servers on this machine: `scripts/bench serving`. See docs/performance.md."""
