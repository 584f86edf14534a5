"""One run, from the lease to the closed record, in the commit order of SPEC 6."""
