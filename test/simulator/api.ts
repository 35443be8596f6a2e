import Anthropic from '@anthropic-ai/sdk';
import { createSimulator, type SimulatedModel, type SimulatorOptions } from '#simulator/simulator.ts';

export const start = Date.parse('2026-11-20T12:00:00Z');

export const models: SimulatedModel[] = [
  {
    id: 'claude-test-2',
    display_name: 'Claude Test 2',
    created_at: '2026-06-01T00:00:00Z',
    max_input_tokens: 1_000_000,
    max_tokens: 128_000,
    minimum_cacheable_tokens: 64,
    aliases: ['claude-test-latest'],
  },
  {
    id: 'claude-test-1',
    display_name: 'Claude Test 1',
    created_at: '2025-06-01T00:00:00Z',
    max_input_tokens: 2_000,
    max_tokens: 1_500,
    minimum_cacheable_tokens: 1_024,
    deprecated_at: '2026-06-01T00:00:00Z',
    retires_at: '2026-11-30T00:00:00Z',
    replacement: 'claude-test-2',
  },
];

export const model = 'claude-test-2';

/** A simulator whose clock stands at `start`, and moves only if the test moves it. */
export function simulated(options: Partial<SimulatorOptions> = {}): (request: Request) => Promise<Response> {
  return createSimulator({ models, now: () => start, ...options });
}

export function clientOf(
  simulator: (request: Request) => Promise<Response>,
  headers: Record<string, string> = {},
): Anthropic {
  return new Anthropic({
    apiKey: 'test-key',
    maxRetries: 0,
    defaultHeaders: headers,
    fetch: (url, init) => simulator(new Request(url, init)),
  });
}

export const requiredHeaders = {
  'x-api-key': 'test-key',
  'anthropic-version': '2023-06-01',
  'content-type': 'application/json',
};

export function post(body: unknown, headers: Record<string, string> = {}, path = '/v1/messages'): Request {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return new Request(`https://api.test${path}`, {
    method: 'POST',
    headers: { ...requiredHeaders, ...headers },
    body: text,
  });
}

export function get(path: string, headers: Record<string, string> = {}): Request {
  return new Request(`https://api.test${path}`, { headers: { ...requiredHeaders, ...headers } });
}

/** A valid body that asks this, with whatever else is given. */
export function asking(text: string, rest: Record<string, unknown> = {}): Record<string, unknown> {
  return { model, max_tokens: 4096, messages: [{ role: 'user', content: text }], ...rest };
}

export interface Refusal {
  status: number;
  type: string;
  message: string;
}

/** What an error answer says; a test fails here if it has not the API's envelope. */
export async function refusal(response: Response): Promise<Refusal> {
  const body = await response.json<{ type: string; error: { type: string; message: string }; request_id: string }>();
  if (body.type !== 'error' || body.request_id !== response.headers.get('request-id')) {
    throw new Error(`not an error envelope: ${JSON.stringify(body)}`);
  }
  return { status: response.status, type: body.error.type, message: body.error.message };
}

export interface StreamEvent {
  name: string;
  data: Record<string, unknown>;
}

/** The events of a stream, read strictly: each is exactly an `event` line, a `data` line and an empty line. */
export function eventsOf(text: string): StreamEvent[] {
  const parts = text.split('\n\n');
  if (parts.pop() !== '') throw new Error('the stream does not end with an empty line');
  return parts.map((part) => {
    const match = /^event: (\w+)\ndata: (\{.*\})$/.exec(part);
    if (match === null) throw new Error(`not an event: ${part}`);
    const [, name = '', data = ''] = match;
    return { name, data: JSON.parse(data) };
  });
}

export function textOf(message: { content: { type: string }[] }): string {
  return message.content.map((block) => ('text' in block && typeof block.text === 'string' ? block.text : '')).join('');
}
