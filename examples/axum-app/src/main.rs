//! Runs the application on 127.0.0.1:8080, or on the address in its first argument.

use std::net::SocketAddr;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    let origin = format!("http://{}", listener.local_addr()?);
    let (router, realtime) = starling_example_axum_app::app(&[&origin])?;
    println!("{origin}");
    let stop = async move {
        // Nobody can be told that there is no signal.
        let _ = tokio::signal::ctrl_c().await;
        realtime.drain().await;
    };
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(stop).await?;
    Ok(())
}
