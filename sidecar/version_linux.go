package main

// ownFile is the file that runs, also after another was put in its place.
const ownFile = "/proc/self/exe"
