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
  /** Requests of one measurement of latency, one after the other. */
  latencyRequests: number;
}

export const burst: Workload = {
  name: 'burst',
  title: '200 events in one write',
  answer: 'burst',
  stream: true,
  promptBytes: 400,
  requests: 1600,
  latencyRequests: 250,
};

/** For counting alone: rows are allowed by the number of events, and by the time that they take. */
export const burst500: Workload = {
  ...burst,
  name: 'burst500',
  answer: 'burst500',
  requests: 256,
  latencyRequests: 16,
};
export const spread500: Workload = {
  ...burst,
  name: 'spread500',
  answer: 'spread500',
  requests: 32,
  latencyRequests: 1,
};

export const workloads: Workload[] = [
  {
    name: 'json',
    title: 'JSON',
    answer: 'json',
    stream: false,
    promptBytes: 400,
    requests: 1600,
    latencyRequests: 250,
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

/** The request body of a workload, in the Messages API's format. */
export function requestBody(workload: Workload): Buffer<ArrayBuffer> {
  const sentence = 'Summarise what the gate keeper wrote down about the water level today. ';
  const prompt = sentence.repeat(Math.ceil(workload.promptBytes / sentence.length)).slice(0, workload.promptBytes);
  return Buffer.from(
    JSON.stringify({
      model: 'claude-haiku-5-5',
      max_tokens: 1024,
      stream: workload.stream,
      messages: [{ role: 'user', content: prompt }],
    }),
  );
}

/** How many body bytes an answer has at least: a relay may add to it and never take away. */
export function leastBytes(workload: Workload): number {
  return Buffer.concat(answers[workload.answer].writes).length;
}
