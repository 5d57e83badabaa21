"""ROOM routes: which endpoint a message takes, and why. Knows numbers, purposes and senders; no campaign, no socket."""
