# A PSGI app: /ping is short, /big does not fit into the buffers of a socket.
my $big = 'x' x (16 << 20);

sub {
    my ($env) = @_;
    my $body = $env->{PATH_INFO} eq '/big' ? $big : '{"message": "psgi"}';
    [200, ['Content-Type' => 'application/json', 'Content-Length' => length $body], [$body]];
};
