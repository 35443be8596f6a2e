import { type AnswerName, answers } from './answers.ts';

/** One kind of request, and how many of them make one measurement. */
export interface Workload {
  name: string;
  title: string;
  /** Which of the fake upstream's answers is asked for. */
  answer: AnswerName;
  stream: boolean;
  /** The size of the user's message in bytes. */
  promptBytes: number;
  /** Requests of one measurement of CPU and throughput, several at once. */
  requests: number;
  /** The `max_tokens` of the request. Default: 1,024 */
  maxTokens?: number;
  /** How many body bytes an answer has at least. Default: as many as the fake upstream writes, to which a relay may add. */
  leastBytes?: number;
  /** Turns that were had before, in a body that brings them along. */
  history?: number;
  /** Requests of one measurement of latency, one after the other. */
  latencyRequests: number;
  /** How many of the requests are in flight at any moment. Default: 8 */
  inFlight?: number;
  /** The contender whose figures the others stand beside, if it is measured. Default: the bare Worker */
  beside?: string;
  /**
   * In how many parts a round measures it, each of every contender in turn: what disturbs the machine for a second then disturbs
   * all of them. Default: 1
   */
  parts?: number;
}

export const burst: Workload = {
  name: 'burst',
  title: '200 events in one write',
  answer: 'burst',
  stream: true,
  promptBytes: 400,
  requests: 1600,
  latencyRequests: 250,
  parts: 5,
};

/** For counting alone: rows are allowed by the number of events, and by the time that they take. */
export const burst500: Workload = { ...burst, name: 'burst500', answer: 'burst500', requests: 128 };
export const paced500: Workload = { ...burst, name: 'paced500', answer: 'paced500', requests: 32, inFlight: 32 };
export const spread500: Workload = { ...burst, name: 'spread500', answer: 'spread500', requests: 32 };

/** After so many turns a conversation is left until its object is evicted. */
export const WOKEN_AFTER = 2;
/** What such a conversation is given to begin with, and one turn. */
export const bringing: Workload = { ...burst, name: 'bringing', history: WOKEN_AFTER, requests: 64 };
/** The next turn, where the conversation has what came before. */
export const asking: Workload = { ...burst, name: 'asking', requests: 64 };

/** Those that are measured for a table of their own. */
export const special: Workload[] = [burst500, spread500, paced500, bringing, asking];

export const workloads: Workload[] = [
  {
    name: 'json',
    title: 'JSON',
    answer: 'json',
    stream: false,
    promptBytes: 400,
    requests: 1600,
    latencyRequests: 250,
    parts: 5,
  },
  burst,
  {
    name: 'flushed',
    title: '1,000 events each flushed alone',
    answer: 'flushed',
    stream: true,
    promptBytes: 400,
    requests: 64,
    latencyRequests: 40,
    parts: 2,
  },
  {
    name: 'ridden',
    title: 'a whole answer that rides: 1,000 events each flushed alone',
    answer: 'flushed',
    stream: false,
    promptBytes: 400,
    requests: 64,
    latencyRequests: 40,
    parts: 2,
    // Enough for more than $0.05 to be at stake, from which on an answer rides.
    maxTokens: 128_000,
    // The message without its events: what its words have.
    leastBytes: 4_000,
  },
  {
    name: 'paced',
    title: '20 events 4 ms apart',
    answer: 'paced',
    stream: true,
    promptBytes: 400,
    requests: 160,
    latencyRequests: 15,
  },
  {
    name: 'tokens40',
    title: '40 tokens a second',
    answer: 'tokens40',
    stream: true,
    promptBytes: 400,
    requests: 24,
    latencyRequests: 2,
  },
  {
    name: 'tokens100',
    title: '100 tokens a second',
    answer: 'tokens100',
    stream: true,
    promptBytes: 400,
    requests: 24,
    latencyRequests: 2,
  },
  {
    name: 'live',
    title: '64 streams of 2 s at once, 40 tokens a second',
    answer: 'live',
    stream: true,
    promptBytes: 400,
    requests: 64,
    latencyRequests: 1,
    inFlight: 64,
    beside: 'late copy',
  },
  {
    name: 'large',
    title: '1 MB request, JSON answer',
    answer: 'json',
    stream: false,
    promptBytes: 1_000_000,
    requests: 250,
    latencyRequests: 60,
  },
];

/** The request headers by which the fake upstream is told what to answer; a relay passes them on untouched. */
export function answerHeaders(workload: Workload): Record<string, string> {
  return { 'x-bench': workload.answer };
}

/** Text of so many bytes. */
export function textOf(bytes: number): string {
  const sentence = 'Summarise what the gate keeper wrote down about the water level today. ';
  return sentence.repeat(Math.ceil(bytes / sentence.length)).slice(0, bytes);
}

/** The request body of a workload, in the Messages API's format. */
export function requestBody(workload: Workload): Buffer<ArrayBuffer> {
  const before = Array.from({ length: workload.history ?? 0 }, (_, turn) => [
    { role: 'user', content: textOf(80) },
    { role: 'assistant', content: `${turn}: ${textOf(300)}` },
  ]);
  return Buffer.from(
    JSON.stringify({
      model: 'claude-haiku-5-5',
      max_tokens: workload.maxTokens ?? 1024,
      stream: workload.stream,
      messages: [...before.flat(), { role: 'user', content: textOf(workload.promptBytes) }],
    }),
  );
}

/** @returns how many body bytes an answer has at least */
export function leastBytes(workload: Workload): number {
  return workload.leastBytes ?? Buffer.concat(answers[workload.answer].writes).length;
}
