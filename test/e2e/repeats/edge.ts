import { createHmac } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { startWatchedEdge } from '../../support/edge.ts';
import { SECRET } from '../../support/tokens.ts';
import { type Growth, measureGrowth } from './measure.ts';
import { type Ask, type Row, type Send, WORD } from './row.ts';
import { answeringUpstream, type HoldingUpstream } from './upstream.ts';

/** `most`: by night all is eight times as large, or as large as it may be. */
export const IS_NIGHT = process.env.REPEATS === 'most';

/** What is awaited is asked again so soon. */
const AGAIN_MS = 100;

/** An edge whose requests are measured. */
export interface MeasuredEdge {
  url: string;
  send: Send;
  /** Measures a row at n and at 8 n. */
  growthOf(row: Row, n: number): Promise<Growth>;
  /** @returns the longest stretch since this was asked, in milliseconds of CPU */
  longestMs(): number;
  /** @returns what its thread has used, in milliseconds of CPU */
  cpuMs(): number;
  stop(): Promise<void>;
}

/** Starts a Worker before an upstream that repeats itself as it is asked to. */
export async function startMeasuredEdge(script: string): Promise<MeasuredEdge> {
  const upstream = await answeringUpstream();
  const edge = await startWatchedEdge(script, {
    MODE: 'development',
    UPSTREAM: 'anthropic',
    SIGNING_SECRET: SECRET,
    GITHUB_WEBHOOK_SECRET: SECRET,
    ANTHROPIC_API_KEY: 'sk-ant-of-the-deployment',
    ANTHROPIC_BASE_URL: upstream.url,
    TOOL_HOSTS: '127.0.0.1:9',
    TOOL_SIGNING_SECRET: `whsec_${btoa(SECRET)}`,
  });
  const send: Send = async (ask) => {
    const { path, method = 'POST', body, headers = {}, isSigned, status = 200, isAwaited, has = '', reads } = ask;
    const isForm = body instanceof FormData;
    const sent = body === undefined || typeof body === 'string' || isForm ? (body ?? null) : JSON.stringify(body);
    for (;;) {
      const response = await fetch(edge.url + path, {
        method,
        headers: {
          ...(isForm ? {} : { 'content-type': 'application/json' }),
          ...(isSigned && { 'x-hub-signature-256': `sha256=${signatureOf(String(sent))}` }),
          ...headers,
        },
        body: sent,
      });
      const text = reads ? await readWords(response, reads, upstream) : await response.text();
      upstream.received.length = 0;
      if (response.status === status && text.includes(has)) return text;
      if (!isAwaited) throw new Error(`${method} ${path}: ${response.status} ${text.slice(0, 400)}`);
      await sleep(AGAIN_MS);
    }
  };
  return {
    url: edge.url,
    send,
    growthOf: (row, n) => measureGrowth(edge, send, row, n),
    longestMs: edge.longestMs,
    cpuMs: edge.cpuMs,
    stop: async () => {
      await edge.stop();
      await upstream.stop();
    },
  };
}

/** Reads a stream to its end, and lets the upstream go on when all words are there; or leaves then. */
async function readWords(
  response: Response,
  { words, leaves }: NonNullable<Ask['reads']>,
  upstream: HoldingUpstream,
): Promise<string> {
  const decoder = new TextDecoder();
  const word = `"${WORD}"`;
  let [text, seen, from] = ['', 0, 0];
  for await (const piece of response.body ?? []) {
    text += decoder.decode(piece, { stream: true });
    const before = seen;
    for (let at = text.indexOf(word, from); at >= 0; at = text.indexOf(word, from)) {
      seen += 1;
      from = at + word.length;
    }
    if (before >= words || seen < words) continue;
    if (leaves) break;
    upstream.letGo();
  }
  return text;
}

const signatureOf = (text: string) => createHmac('sha256', SECRET).update(text).digest('hex');
