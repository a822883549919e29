"""An embedded index that several processes read while another one rebuilds it and is killed."""
