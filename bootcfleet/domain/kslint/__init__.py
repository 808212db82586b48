"""Rules about kickstarts that install an image; model, engine and output are `domain.lint`'s."""
