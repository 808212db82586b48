"""Programs that play others for the tests; each says what it is and what it leaves out."""
