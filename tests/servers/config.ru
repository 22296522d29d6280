# A Rack app: /ping is short, /big does not fit into the buffers of a socket.
BIG = 'x' * (16 << 20)

run(lambda do |env|
  body = env['PATH_INFO'] == '/big' ? BIG : '{"message": "rack"}'
  [200, { 'content-type' => 'application/json', 'content-length' => body.bytesize.to_s }, [body]]
end)
