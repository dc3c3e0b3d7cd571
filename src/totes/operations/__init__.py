"""What an operator does beside the stages: check, status, verify, release, erase, gc."""
