/** What the fake upstream can answer, made once so that answering costs it as little as possible. */

export type AnswerName =
  | 'json'
  | 'burst'
  | 'burst500'
  | 'paced500'
  | 'spread500'
  | 'flushed'
  | 'paced'
  | 'tokens40'
  | 'tokens100'
  | 'live'
  | 'open'
  | 'begun';

/** The last line of an event that tells when it was written: a comment with milliseconds since 1970. */
export const WRITTEN_AT = /^: written at (\d{13}\.\d{3})\n/gm;

/** @returns the event; a delta with a comment that tells when it is written: now. */
export function stamped(event: Buffer): Buffer {
  if (!event.includes('event: content_block_delta\n')) return event;
  const now = (performance.timeOrigin + performance.now()).toFixed(3);
  return Buffer.concat([event.subarray(0, -1), Buffer.from(`: written at ${now}\n\n`)]);
}

interface Answer {
  contentType: string;
  /** Each of these is written to the socket alone, in its own turn of the event loop. */
  writes: Buffer[];
  /** Between two writes. */
  pauseMs: number;
  /** Whether each delta tells when it was written. */
  isStamped?: boolean;
}

const inputUsage = {
  input_tokens: 412,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: 0,
  cache_creation: { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: 0 },
  service_tier: 'standard',
  inference_geo: 'not_available',
};

const message = {
  id: 'msg_01BenchBenchBenchBenchBe',
  type: 'message',
  role: 'assistant',
  model: 'claude-haiku-5-5',
};

const words = ['the', ' gate', ' opens', ' slowly', ' and', ' water', ' finds', ' its', ' level', ' again.'];

function event(type: string, data: Record<string, unknown>): Buffer {
  return Buffer.from(`event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`);
}

/** A complete streamed answer of exactly `count` events, a text delta being 110 to 120 bytes as the API's are. */
function events(count: number): Buffer[] {
  const opening = [
    event('message_start', {
      message: {
        ...message,
        content: [],
        stop_reason: null,
        stop_sequence: null,
        usage: { ...inputUsage, output_tokens: 1 },
      },
    }),
    event('content_block_start', { index: 0, content_block: { type: 'text', text: '' } }),
    event('ping', {}),
  ];
  const ending = [
    event('content_block_stop', { index: 0 }),
    event('message_delta', {
      delta: { stop_reason: 'end_turn', stop_sequence: null },
      usage: { ...inputUsage, output_tokens: count },
    }),
    event('message_stop', {}),
  ];
  const deltas = Array.from({ length: count - opening.length - ending.length }, (_, index) =>
    event('content_block_delta', { index: 0, delta: { type: 'text_delta', text: words[index % words.length] } }),
  );
  return [...opening, ...deltas, ...ending];
}

/** @returns the same events, of which the first four and the last three are one write each */
function joinedEnds(all: Buffer[]): Buffer[] {
  return [Buffer.concat(all.slice(0, 4)), ...all.slice(4, -3), Buffer.concat(all.slice(-3))];
}

function json(): Buffer {
  return Buffer.from(
    JSON.stringify({
      ...message,
      content: [{ type: 'text', text: words.join('').repeat(20) }],
      stop_reason: 'end_turn',
      stop_sequence: null,
      usage: { ...inputUsage, output_tokens: 240 },
    }),
  );
}

const eventStream = 'text/event-stream; charset=utf-8';

export const answers: Record<AnswerName, Answer> = {
  json: { contentType: 'application/json', writes: [json()], pauseMs: 0 },
  burst: { contentType: eventStream, writes: [Buffer.concat(events(200))], pauseMs: 0 },
  burst500: { contentType: eventStream, writes: [Buffer.concat(events(500))], pauseMs: 0 },
  // As the API does: what opens an answer comes together, and so does what ends it.
  paced500: { contentType: eventStream, writes: joinedEnds(events(500)), pauseMs: 40 },
  spread500: { contentType: eventStream, writes: events(500), pauseMs: 5 },
  flushed: { contentType: eventStream, writes: events(1000), pauseMs: 0 },
  paced: { contentType: eventStream, writes: events(20), pauseMs: 4 },
  // An event a token, as many in a second.
  tokens40: { contentType: eventStream, writes: events(40), pauseMs: 25, isStamped: true },
  tokens100: { contentType: eventStream, writes: events(100), pauseMs: 10, isStamped: true },
  live: { contentType: eventStream, writes: events(80), pauseMs: 25, isStamped: true },
  // It begins, and goes on for longer than anything is measured.
  open: { contentType: eventStream, writes: events(400), pauseMs: 1_000 },
  // The same, with its first delta at once.
  begun: { contentType: eventStream, writes: joinedEnds(events(400)), pauseMs: 1_000 },
};
