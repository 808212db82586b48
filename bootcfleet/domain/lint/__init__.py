"""Our own rules over a rendered Containerfile and its build context."""
