"""What runs when: requests, KV blocks, the scheduler, batches, sampling and the loop that drives them."""
