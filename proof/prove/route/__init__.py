"""`make prove ARGS="--route 'GET /notes'"`: measures one route, and says what kind it is and what to change."""
