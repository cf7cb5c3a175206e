module brunt.dev/bench

go 1.19
