"""What a run costs: samples of processes, threads and the machine. Reads /proc, talks to nothing."""
