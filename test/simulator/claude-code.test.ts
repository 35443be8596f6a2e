import { describe, expect, test } from 'vitest';
import { createSimulator } from '#simulator/simulator.ts';
import { summary, task } from '#test/fixtures/claude-code/asked-by-itself.json';
import firstPrompt from '#test/fixtures/claude-code/first-prompt.json';
import title from '#test/fixtures/claude-code/title.json';
import { eventsOf, models, start } from './api.ts';

const serving = models.map((model) => (model.id === 'claude-test-2' ? { ...model, id: 'claude-opus-5-5' } : model));

interface Recorded {
  method: string;
  path: string;
  headers: Record<string, string>;
  body: object;
}

/** The events that answer a recorded request. */
async function answer({ method, path, headers, body }: Recorded): Promise<ReturnType<typeof eventsOf>> {
  const simulator = createSimulator({ models: serving, now: () => start });
  const request = new Request(`https://api.test${path}`, { method, headers, body: JSON.stringify(body) });
  const response = await simulator(request);
  const text = await response.text();
  expect(response.status, text).toBe(200);
  return eventsOf(text);
}

/** The first prompt, but the user wrote this. */
function prompting(text: string): Recorded {
  const [first, ...rest] = firstPrompt.body.messages;
  const content = [...(first?.content.slice(0, -1) ?? []), { type: 'text', text }];
  return { ...firstPrompt, body: { ...firstPrompt.body, messages: [{ ...first, content }, ...rest] } };
}

function blocksOf(events: ReturnType<typeof eventsOf>): Record<string, unknown>[] {
  return events.flatMap(({ data }) => ('content_block' in data ? [data.content_block as Record<string, unknown>] : []));
}

function deltaOf(events: ReturnType<typeof eventsOf>): unknown {
  return events.find(({ name }) => name === 'message_delta')?.data.delta;
}

describe('the first prompt of Claude Code', () => {
  test('gets a greeting without a tool call, with visible thinking', async () => {
    const events = await answer(firstPrompt);
    expect(blocksOf(events).map(({ type }) => type)).toEqual(['thinking', 'text']);
    expect(JSON.stringify(events)).toContain('thinking_delta');
    expect(deltaOf(events)).toMatchObject({
      stop_reason: 'end_turn',
      safeguard_results: [{ type: 'dangerous_tool_use', status: { type: 'available', tool_uses: {} } }],
    });
  });

  test('gets a call to the one tool that it names, with a safeguard result for the call', async () => {
    const events = await answer(prompting('Run a command in the shell with Bash'));
    const calls = blocksOf(events).filter(({ type }) => type === 'tool_use');
    expect(calls).toMatchObject([{ name: 'Bash' }]);
    const input = events.map(({ data }) => (data.delta as { partial_json?: string } | undefined)?.partial_json ?? '');
    expect(Object.keys(JSON.parse(input.join('')))).toEqual(['command']);
    const verdict = { type: 'evaluated', outcome: 'not_flagged' };
    expect(deltaOf(events)).toMatchObject({
      safeguard_results: [{ status: { type: 'available', tool_uses: { [String(calls[0]?.id)]: verdict } } }],
    });
  });

  test('comes with a title request, whose response satisfies the output schema', async () => {
    const events = await answer(title);
    const text = events.map(({ data }) => (data.delta as { text?: string } | undefined)?.text ?? '').join('');
    expect(JSON.parse(text)).toEqual({ title: expect.any(String) });
    expect(deltaOf(events)).not.toHaveProperty('safeguard_results');
  });
});

describe('a request that Claude Code sends on its own', () => {
  const toolsCalled = (events: ReturnType<typeof eventsOf>) =>
    blocksOf(events).flatMap(({ type, name }) => (type === 'tool_use' ? [name] : []));

  test('for the summary of /compact gets a text, although it names the forbidden tools', async () => {
    const events = await answer(prompting(summary));
    expect(toolsCalled(events)).toEqual([]);
    expect(deltaOf(events)).toMatchObject({ stop_reason: 'end_turn' });
  });

  test('with the notification of a finished task starts no other task', async () => {
    const asked = prompting('Start the Agent for this');
    expect(toolsCalled(await answer(asked))).toEqual(['Agent']);
    const use = { type: 'tool_use', id: 'toolu_1', name: 'Agent', input: { description: 'x', prompt: 'x' } };
    const messages = [
      ...(asked.body as typeof firstPrompt.body).messages,
      { role: 'assistant', content: [use] },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'toolu_1', content: 'Agent was launched.' }] },
      { role: 'assistant', content: 'It was launched.' },
      { role: 'user', content: task },
    ];
    expect(toolsCalled(await answer({ ...asked, body: { ...asked.body, messages } }))).toEqual([]);
  });
});

describe('safeguards', () => {
  test('have their results at the top level of a non-streaming message, with unknown types marked as unsupported', async () => {
    const safeguards = [...firstPrompt.body.safeguards, { type: 'of_another_kind' }];
    const body = { ...firstPrompt.body, safeguards, stream: false };
    const simulator = createSimulator({ models: serving, now: () => start });
    const { path, method, headers } = firstPrompt;
    const request = new Request(`https://api.test${path}`, { method, headers, body: JSON.stringify(body) });
    expect(await (await simulator(request)).json()).toMatchObject({
      safeguard_results: [
        { type: 'dangerous_tool_use', status: { type: 'available' } },
        { type: 'of_another_kind', status: { type: 'unsupported' } },
      ],
    });
  });

  test('and thinking updates are rejected by name without their betas', async () => {
    const simulator = createSimulator({ models: serving, now: () => start });
    const { 'anthropic-beta': _, ...headers } = firstPrompt.headers;
    for (const [key, value] of Object.entries({
      safeguards: firstPrompt.body.safeguards,
      thinking: { type: 'adaptive', display: 'updates' },
    })) {
      const body = { model: 'claude-opus-5-5', max_tokens: 9, messages: [{ role: 'user', content: 'Hi' }] };
      const request = new Request('https://api.test/v1/messages', {
        method: 'POST',
        headers,
        body: JSON.stringify({ ...body, [key]: value }),
      });
      const response = await simulator(request);
      expect(response.status).toBe(400);
      expect(await response.text()).toContain(key);
    }
  });
});
