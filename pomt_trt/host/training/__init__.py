"""Training of the learned methods: one loop, LTMP, Cropr, and what they share."""
