"""What to send and when: arrivals, keys, values, mix, recorder, and the load loop."""
