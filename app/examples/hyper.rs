//! A hyper server that loses no request when it is replaced, in ten lines. `segue run -l 1234 -- target/debug/examples/hyper`
use hyper::{Request, Response, body::Incoming, service::service_fn};

async fn hello(_: Request<Incoming>) -> Result<Response<String>, std::convert::Infallible> {
    Ok(Response::new("hello\n".to_owned()))
}

fn main() -> Result<(), segue_app::Error> {
    let server = segue_app::Server::from_environment()?.or_bind("127.0.0.1:1234")?;
    eprintln!("{}", server.run(service_fn(hello))?);
    Ok(())
}
