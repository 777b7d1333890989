//! Safe system calls: process descriptors, procfs and sockets.
