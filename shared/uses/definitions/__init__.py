"""One file a use; `shared.uses.registry` finds every module here that names `USES`."""
