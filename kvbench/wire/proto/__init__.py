"""etcd's messages for Python's rare calls and the grpcio engine, from etcd.proto."""
