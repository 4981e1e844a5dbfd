//! The codec of the gRPC services: prost's, with buffers that an idle stream does not pay for.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::BufferSettings;
use tonic_prost::{ProstDecoder, ProstEncoder};

/// How many bytes a stream's buffer has before it is used: a gateway holds many that wait.
const IDLE_BYTES: usize = 512;

/// After how many bytes an encoder hands its buffer to the connection; tonic's own default.
pub const YIELD_BYTES: usize = 32 * 1024;

/// Protobuf messages on a gRPC stream.
#[derive(Clone, Copy, Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstEncoder::new(BufferSettings::new(IDLE_BYTES, YIELD_BYTES))
    }

    fn decoder(&mut self) -> ProstDecoder<U> {
        ProstDecoder::new(BufferSettings::new(IDLE_BYTES, YIELD_BYTES))
    }
}
