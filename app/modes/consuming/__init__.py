"""Records in: a consumer group over Faust and aiokafka that hands over what has arrived, a partition at a time."""
