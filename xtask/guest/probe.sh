# Does a guest run at all with this accelerator? Booting this far is the answer.
