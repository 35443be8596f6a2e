/** What the fake upstream can answer, made once so that answering costs it as little as possible. */

export type AnswerName = 'burst' | 'paced500' | 'flushed' | 'paced' | 'live';

interface Answer {
  /** Each of these is written to the socket alone, in its own turn of the event loop. */
  writes: Buffer[];
  /** Between two writes. */
  pauseMs: number;
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

export const answers: Record<AnswerName, Answer> = {
  burst: { writes: [Buffer.concat(events(200))], pauseMs: 0 },
  // As the API does: what opens an answer comes together, and so does what ends it.
  paced500: { writes: joinedEnds(events(500)), pauseMs: 40 },
  flushed: { writes: events(1000), pauseMs: 0 },
  paced: { writes: events(20), pauseMs: 4 },
  // An event a token, 40 in a second.
  live: { writes: events(80), pauseMs: 25 },
};
