import { type AnswerName, answers } from './answers.ts';

/** One kind of request, and how many of them make one measurement. */
export interface Workload {
  /** That of the fake upstream's answer that is asked for. */
  name: AnswerName;
  /** Requests of one measurement of CPU, several at once. */
  requests: number;
  /** Requests of one measurement of the first event, one after the other. */
  latencyRequests: number;
  /** How many of the requests are in flight at any moment. */
  inFlight: number;
  /** In how many parts a round measures it, each of every contender in turn: what disturbs a machine for a second disturbs all. */
  parts: number;
}

const few = { latencyRequests: 1, inFlight: 8, parts: 1 };
export const burst: Workload = { name: 'burst', requests: 320, latencyRequests: 50, inFlight: 8, parts: 5 };
export const flushed: Workload = { ...few, name: 'flushed', requests: 32, parts: 2 };
export const paced: Workload = { ...few, name: 'paced', requests: 160, latencyRequests: 15 };
export const live: Workload = { ...few, name: 'live', requests: 64, inFlight: 64 };
/** For counting alone. */
export const paced500: Workload = { ...few, name: 'paced500', requests: 32, inFlight: 32 };

const ALL: readonly Workload[] = [burst, flushed, paced, live, paced500];

export function findWorkload(name: string): Workload {
  const found = ALL.find((each) => each.name === name);
  if (found === undefined) throw new Error(`no workload ${name}`);
  return found;
}

/** The request headers by which the fake upstream is told what to answer; a relay passes them on untouched. */
export function answerHeaders({ name }: Workload): Record<string, string> {
  return { 'x-bench': name };
}

/** Text of so many bytes. */
export function textOf(bytes: number): string {
  const sentence = 'Summarise what the gate keeper wrote down about the water level today. ';
  return sentence.repeat(Math.ceil(bytes / sentence.length)).slice(0, bytes);
}

/** The request body of every workload, in the Messages API's format. */
export const REQUEST_BODY = Buffer.from(
  JSON.stringify({
    model: 'claude-haiku-5-5',
    max_tokens: 1024,
    stream: true,
    messages: [{ role: 'user', content: textOf(400) }],
  }),
);

/** @returns how many body bytes an answer has at least: as many as the fake upstream writes, to which a relay may add */
export function leastBytes({ name }: Workload): number {
  return Buffer.concat(answers[name].writes).length;
}
