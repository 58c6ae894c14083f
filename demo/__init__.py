"""`make demo`: real CT studies travel the whole way, from C-STORE to SEG and SR."""
