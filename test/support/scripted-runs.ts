/** A Claude API that answers as a test says, and a server of tools: both in this isolate. */
import { expect, onTestFinished, vi } from 'vitest';
import { getUpstreamBySettings } from '#edge/claude/upstream.ts';
import { createMessageEventStream } from '#edge/conversations/turn/message-events.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { findBrokenRule } from './api-rules.ts';
import { installSimulator, setConversationUpstream } from './conversations.ts';
import { createErrorResponse, sseResponse } from './wire.ts';

export const TOOL_SECRET = `whsec_${btoa('0123456789abcdef0123456789abcdef')}`;
/** Settings with which tools can be called. */
export const TOOL_VARS = {
  TOOL_HOSTS: 'tools.example.com',
  TOOL_SIGNING_SECRET: TOOL_SECRET,
  // A property reads more in a minute than a page does.
  BOUND_READS_PER_MINUTE: '1000000',
};
export const TOOL_URL = 'https://tools.example.com/weather';

/** The tool of most tests, with what else its `run` says. */
export const weatherTool = (run: object = {}, name = 'get_weather') => ({
  name,
  description: 'Tells the weather.',
  input_schema: { type: 'object', properties: { city: { type: 'string' } } },
  run: { url: TOOL_URL, ...run },
});

export interface AskedBody {
  messages: { role: string; content: string | JsonObject[] }[];
  [member: string]: unknown;
}

/** What the API answers with: blocks, and how it ends. */
export interface ScriptedAnswer {
  content: JsonObject[];
  stop_reason?: string;
  usage?: JsonObject;
  /** The container of the answer, if the stream tells it. */
  container?: JsonObject;
  /** Of the stream as it goes out: to cut it, say. */
  change?: (text: string) => string | ReadableStream<Uint8Array>;
}

export const textAnswer = (text: string): ScriptedAnswer => ({ content: [{ type: 'text', text }] });
export const weatherCall = (id: string, city: string, name = 'get_weather'): JsonObject => ({
  type: 'tool_use',
  id,
  name,
  input: { city },
});
export const callsAnswer = (...content: JsonObject[]): ScriptedAnswer => ({ content, stop_reason: 'tool_use' });

/** What happens around a request: before it is answered, and once all of it has come. */
interface RequestHooks {
  /** @param request the request as it went up */
  before?: (request: RequestInit) => Promise<void>;
  after?: () => Promise<void>;
}

/** Has conversations answered by a script. @returns the bodies that went up, which obey the API's rules */
export function answerByScript(
  script: (body: AskedBody, number: number) => ScriptedAnswer | Response | Promise<ScriptedAnswer | Response>,
  { vars = {}, before, after }: RequestHooks & { vars?: Record<string, string> } = {},
): AskedBody[] {
  installSimulator({ ...TOOL_VARS, ...vars });
  const bodies: AskedBody[] = [];
  setConversationUpstream(async (url, init) => {
    // A count costs nothing, and is no answer.
    if (String(url).includes('/count_tokens')) return Response.json({ input_tokens: 100 });
    await before?.(init);
    const body = JSON.parse(await new Response(init.body as BodyInit).text()) as AskedBody;
    bodies.push(body);
    await after?.();
    const broken = findBrokenRule(body.messages as never, { container: body.container });
    if (broken !== undefined) return createErrorResponse(400, 'invalid_request_error', broken);
    const answer = await script(body, bodies.length);
    if (answer instanceof Response) return answer;
    const { content, stop_reason = 'end_turn', usage = { input_tokens: 100, output_tokens: 10 }, container } = answer;
    const message = { id: `msg_${bodies.length}`, type: 'message', role: 'assistant', model: body.model, container };
    const text = createMessageEventStream({ ...message, content, stop_reason, usage });
    return sseResponse(answer.change?.(text) ?? text);
  });
  return bodies;
}

/** Has conversations ask two upstreams, `one` and `two`. @param answer what a host says to a body */
export function installTwoUpstreams(answer: (host: string, body: AskedBody) => Response): void {
  const list = ['one', 'two'].map((name) => ({ name, kind: 'anthropic', base_url: `https://${name}.example.com` }));
  const settings = installSimulator({
    UPSTREAM: 'anthropic',
    UPSTREAMS: JSON.stringify(list),
    UPSTREAM_ONE_KEY: 'one',
    UPSTREAM_TWO_KEY: 'two',
    ...TOOL_VARS,
  });
  const upstream = getUpstreamBySettings(settings, async (url, init) => {
    const body = JSON.parse(await new Response(init.body as BodyInit).text()) as AskedBody;
    return answer(new URL(String(url)).host, body);
  });
  setConversationUpstream(upstream.fetch, upstream);
}

/** A call as a tool's server gets it. */
export interface ToolServerCall {
  url: string;
  headers: Headers;
  body: JsonObject;
  text: string;
  signal: AbortSignal;
}

/** Has tools answered. @returns the calls that have come */
export function answerTools(
  answer: (called: ToolServerCall, number: number) => Response | Promise<Response>,
): ToolServerCall[] {
  const calls: ToolServerCall[] = [];
  const spy = vi.spyOn(globalThis, 'fetch').mockImplementation(async (url, init) => {
    const text = String(init?.body);
    const called = {
      url: String(url),
      headers: new Headers(init?.headers),
      body: JSON.parse(text) as JsonObject,
      text,
      signal: init?.signal as AbortSignal,
    };
    expect(init).toMatchObject({ method: 'POST', redirect: 'manual' });
    calls.push(called);
    return await answer(called, calls.length);
  });
  onTestFinished(() => spy.mockRestore());
  return calls;
}
