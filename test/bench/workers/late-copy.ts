interface Env {
  ANTHROPIC_BASE_URL: string;
}

const READ_EVERY_MS = 200;
const PIECE_BYTES = 4_096;

/**
 * The least Worker that knows what a stream says: the native pipe carries the stream down, and a copy is read every 200 ms. It
 * checks nothing, knows nobody, and counts nothing but bytes.
 */
export default {
  async fetch(request: Request, env: Env, context: ExecutionContext): Promise<Response> {
    const response = await fetch(env.ANTHROPIC_BASE_URL + new URL(request.url).pathname, request);
    if (!response.body) return response;
    const [stream, copy] = response.body.tee();
    const { readable, writable } = new IdentityTransformStream();
    context.waitUntil(Promise.all([stream.pipeTo(writable), readLate(copy)]));
    return new Response(readable, response);
  },
};

/** @returns how many bytes came */
async function readLate(copy: ReadableStream<Uint8Array>): Promise<number> {
  const reader = copy.getReader({ mode: 'byob' });
  let buffer = new ArrayBuffer(PIECE_BYTES);
  let bytes = 0;
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, READ_EVERY_MS));
    const { value, done } = await reader.read(new Uint8Array(buffer));
    if (done || !value) return bytes;
    buffer = value.buffer;
    bytes += value.length;
  }
}
