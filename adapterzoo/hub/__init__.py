"""The Hub: files fetched from its repositories, adapters pushed there with a card, and the list of those that are."""
