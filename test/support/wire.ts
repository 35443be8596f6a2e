/** What the Claude API writes: events, streams, messages and errors, for the upstreams of tests. */

/** @returns an event of a stream */
export const sseEvent = (type: string, data: object = {}): string =>
  `event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`;

/** @returns a stream of events that say their type themselves */
export const sseEvents = (events: readonly object[]): string =>
  events.map((data) => sseEvent((data as { type: string }).type, data)).join('');

export const PING = sseEvent('ping');

/** @param more members in place of those of a short answer, or besides */
export const messageWith = (more: object = {}) => ({
  id: 'msg_1',
  type: 'message',
  role: 'assistant',
  model: 'claude-opus-5-5',
  content: [{ type: 'text', text: 'Hi' }] as object[],
  stop_reason: 'end_turn',
  stop_sequence: null,
  usage: { input_tokens: 100, output_tokens: 10 },
  ...more,
});

/** @returns the first event. What it says of the usage is what the API knows then @param more members of its message */
export const messageStart = (more: object = {}): string =>
  sseEvent('message_start', {
    message: messageWith({ content: [], stop_reason: null, usage: { input_tokens: 100, output_tokens: 1 }, ...more }),
  });

/** The first event of a block of text. */
export const TEXT_BLOCK_START = sseEvent('content_block_start', {
  index: 0,
  content_block: { type: 'text', text: '' },
});

export const blockDelta = (content: object, index = 0): string =>
  sseEvent('content_block_delta', { index, delta: content });
export const textDelta = (text: string, index = 0): string => blockDelta({ type: 'text_delta', text }, index);
export const blockEnd = (index = 0): string => sseEvent('content_block_stop', { index });

/** @returns the events of a block: it begins like this, and goes on by its deltas */
export const contentBlock = (content_block: object, deltas: readonly object[] = [], index = 0): string =>
  sseEvent('content_block_start', { index, content_block }) +
  deltas.map((one) => blockDelta(one, index)).join('') +
  blockEnd(index);

/** @returns the events of a block of text, a delta for each piece */
export const textBlock = (pieces: readonly string[], index = 0): string =>
  contentBlock(
    { type: 'text', text: '' },
    pieces.map((text) => ({ type: 'text_delta', text })),
    index,
  );

/** @returns the last events @param stopReason how it ended, as a reason or in full */
export const messageEnd = (usage: object = { output_tokens: 10 }, stopReason: string | object = 'end_turn'): string =>
  sseEvent('message_delta', {
    delta: typeof stopReason === 'string' ? { stop_reason: stopReason, stop_sequence: null } : stopReason,
    usage,
  }) + sseEvent('message_stop');

/** @returns the events of a stream, each by itself */
export const splitEvents = (stream: string): string[] => stream.match(/.*?\n\n/gs) ?? [];

/**
 * @returns a stream as the upstream's answer. A text or bytes are as from the network: the runtime has a body of another kind
 *   for what is given whole, which cannot be piped
 */
export const sseResponse = (body: BodyInit, headers: Record<string, string> = {}): Response =>
  new Response(typeof body === 'string' || body instanceof Uint8Array ? createByteStream(body) : body, {
    headers: { 'content-type': 'text/event-stream', ...headers },
  });

function createByteStream(whole: string | Uint8Array): ReadableStream<Uint8Array> {
  return new ReadableStream({
    type: 'bytes',
    start(controller) {
      const bytes = typeof whole === 'string' ? new TextEncoder().encode(whole) : whole.slice();
      if (bytes.length > 0) controller.enqueue(bytes);
      controller.close();
    },
  });
}

/** @returns an error as the upstream's answer */
export const createErrorResponse = (
  status: number,
  type = 'invalid_request_error',
  errorMessage = 'No.',
  headers: Record<string, string> = {},
): Response => Response.json({ type: 'error', error: { type, message: errorMessage } }, { status, headers });
