"""Operations besides the stages: check, status, verify, release, erase, gc."""
