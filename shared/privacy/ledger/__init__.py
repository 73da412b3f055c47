"""The signed ledger of what each shop has spent: admission, spending and the record itself."""
