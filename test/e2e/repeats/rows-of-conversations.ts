import { backupOf } from '../../support/long-backup.ts';
import { bearer, tokenOf } from '../../support/tokens.ts';
import { ANSWER, ASKED, type Ask, history, MODEL, type Row, type Send, times } from './row.ts';

const restore = (n: number, id: string): Ask => ({
  method: 'PUT',
  path: `/accounts/dev/conversations/${id}/backup`,
  body: backupOf(n),
  headers: { 'content-type': 'application/jsonl' },
  status: 201,
});
const restored = (send: Send, n: number, id: string) => send(restore(n, id));
const begin = (n: number, id: string): Ask => ({
  path: '/conversations',
  status: 201,
  body: { id, messages: history(n - 1) },
});
const begun = (send: Send, n: number, id: string) => send(begin(n, id));

/** Rows of a conversation that has had so many turns, and that none of them changes. */
const reading = (what: string, where: string, ask: (id: string) => Ask): Row => ({
  what: `turns before ${what}`,
  where: [where],
  n: 212,
  prepare: async (send, n) => {
    const id = `turns-${n}`;
    if (!known.has(id)) await restored(send, n, id);
    known.add(id);
    return id;
  },
  asks: (_, __, id) => ask(id),
});
const known = new Set<string>();
/** Rows of what changes such a conversation. */
const changing = (what: string, where: string, n: number, ask: (id: string) => Ask): Row => ({
  what: `turns before ${what}`,
  where: [where],
  n,
  prepare: restored,
  asks: (_, id) => ask(id),
});

/** The agent of answers that bound tokens follow. */
const AGENT = 'followed';
/** Begins an answer of so many deltas that ends when so many callers have read them. @returns what each follows it by */
export async function liveAnswer(send: Send, n: number, id: string, followers: number): Promise<Ask[]> {
  await send({ method: 'PUT', path: `/agents/${AGENT}`, body: { model: MODEL, max_tokens: 10 } });
  const answer = {
    path: '/messages',
    body: { ...ASKED, stream: true, agent: AGENT, conversation: id },
  };
  const headers = { [ANSWER]: `held ${n} ${followers}` };
  const begun = await send({ ...answer, headers, reads: { words: n, leaves: true } });
  const turn = /^id: (.*)-\d+$/m.exec(begun)?.[1];
  const bound = bearer(await tokenOf('dev', ['messages'], { only: { agents: [AGENT] } }));
  const follow: Ask = { method: 'GET', path: `/conversations/${id}/stream?after=${turn}-0`, headers: bound };
  return times(followers, () => ({ ...follow, reads: { words: n, leaves: false } }));
}

/** @returns a call of the edge with its result, as a client sends them back */
export const edgeCall = (nth: number) => [
  { type: 'mcp_tool_use', id: `call_${nth}`, name: 'dice', input: {}, server_name: 'edge' },
  { type: 'mcp_tool_result', tool_use_id: `call_${nth}`, is_error: false, content: [{ type: 'text', text: 'x' }] },
];

/** Has so many calls wait for approval. @returns their list */
const waiting = async (send: Send, n: number, id: string): Promise<string> => {
  const run = { url: 'http://127.0.0.1:9/', once: true, approval: 'always' };
  const tools = [{ name: 'pay', input_schema: { type: 'object' }, run }];
  await send({
    path: '/messages',
    body: { ...ASKED, conversation: id, tools, max_tool_calls: 1_000 },
    headers: { [ANSWER]: `calls ${n}` },
  });
  return await send({ method: 'GET', path: `/conversations/${id}/approvals` });
};

export const CONVERSATION_ROWS: readonly Row[] = [
  {
    what: 'messages that a conversation begins with',
    where: ['POST /conversations'],
    n: 1_000,
    most: 99_000,
    asks: begin,
  },
  {
    what: 'messages of a first turn',
    where: ['POST /messages'],
    n: 600,
    most: 4_900,
    asks: (n, id) => ({ path: '/messages', body: { ...ASKED, conversation: id, messages: history(n) } }),
  },
  {
    what: 'messages that are all sent again',
    where: ['POST /messages'],
    n: 600,
    most: 4_900,
    prepare: begun,
    asks: (n, id) => ({
      path: '/messages',
      body: { ...ASKED, conversation: id, messages: [...history(n - 1), { role: 'assistant', content: 'x' }] },
      status: 400,
    }),
  },
  {
    what: 'tools of a conversation',
    where: ['POST /conversations'],
    n: 2_500,
    asks: (n, id) => ({
      path: '/conversations',
      status: 201,
      body: { id, tools: times(n, (nth) => ({ name: `tool_${nth}`, input_schema: { type: 'object' } })) },
    }),
  },
  {
    what: 'members of metadata',
    where: ['PATCH /conversations/:id'],
    n: 8,
    most: 64,
    prepare: (send, _, id) => send({ path: '/conversations', body: { id }, status: 201 }),
    asks: (n, id) => ({
      method: 'PATCH',
      path: `/conversations/${id}`,
      body: { metadata: Object.fromEntries(times(n, (nth) => [`key_${nth}`, 'x'.repeat(1_000)])) },
    }),
  },
  {
    what: 'lines of a backup',
    where: ['PUT /accounts/:id/conversations/:conversation/backup'],
    n: 80,
    asks: restore,
  },
  reading('a backup', 'GET /accounts/:id/conversations/:conversation/backup', (id) => ({
    method: 'GET',
    path: `/accounts/dev/conversations/${id}/backup`,
  })),
  reading('a fork', 'POST /conversations/:id/fork', (id) => ({
    path: `/conversations/${id}/fork`,
    body: {},
    status: 201,
  })),
  reading('an export', 'GET /conversations/:id/export', (id) => ({
    method: 'GET',
    path: `/conversations/${id}/export`,
  })),
  reading('an export as shown', 'GET /conversations/:id/export', (id) => ({
    method: 'GET',
    path: `/conversations/${id}/export?view=shown`,
  })),
  reading('a page of messages', 'GET /conversations/:id/messages', (id) => ({
    method: 'GET',
    path: `/conversations/${id}/messages?limit=1000`,
  })),
  reading('a page of messages as shown', 'GET /conversations/:id/messages', (id) => ({
    method: 'GET',
    path: `/conversations/${id}/messages?limit=1000&view=shown`,
  })),
  changing('a rewind', 'POST /conversations/:id/rewind', 125, (id) => ({
    path: `/conversations/${id}/rewind`,
    body: { before: 'msg_3' },
  })),
  changing('the next one', 'POST /messages', 125, (id) => ({
    path: '/messages',
    body: { ...ASKED, conversation: id },
  })),
  changing('its deletion', 'DELETE /conversations/:id', 100, (id) => ({
    method: 'DELETE',
    path: `/conversations/${id}`,
  })),
  changing('one of them is cancelled', 'DELETE /conversations/:id/turns/:turn', 125, (id) => ({
    method: 'DELETE',
    path: `/conversations/${id}/turns/turn_2`,
  })),
  reading('a report of one of them', 'GET /conversations/:id/turns/:turn', (id) => ({
    method: 'GET',
    path: `/conversations/${id}/turns/turn_2`,
  })),
  reading('a report', 'GET /conversations/:id', (id) => ({ method: 'GET', path: `/conversations/${id}` })),
  {
    what: 'deltas of an answer that a bound token follows',
    where: ['GET /conversations/:id/stream'],
    n: 500,
    most: 32_000,
    prepare: async (send, n, id) => JSON.stringify(await liveAnswer(send, n, id, 1)),
    asks: (_, __, made) => JSON.parse(made) as Ask[],
  },
  {
    what: 'conversations of an account',
    where: ['GET /conversations', 'GET /accounts/:id/conversations'],
    n: 10,
    most: 1_000,
    prepare: async (send, n, id) => {
      const token = await tokenOf(id);
      for (let nth = 0; nth < n; nth += 1)
        await send({ path: '/conversations', body: { id: `c${nth}` }, status: 201, headers: bearer(token) });
      return token;
    },
    asks: (_, id, token) => [
      { method: 'GET', path: '/conversations?limit=1000', headers: bearer(token) },
      { method: 'GET', path: `/accounts/${id}/conversations?limit=1000` },
    ],
  },
  {
    what: 'conversations and requests of an account that is erased',
    where: ['DELETE /accounts/:id'],
    n: 4,
    most: 250,
    prepare: async (send, n, id) => {
      const headers = bearer(await tokenOf(id));
      for (let nth = 0; nth < n; nth += 1)
        await send({ path: '/messages', body: { ...ASKED, conversation: `c${nth}` }, headers });
      return '';
    },
    asks: (_, id) => ({ method: 'DELETE', path: `/accounts/${id}`, status: 202, isAwaited: true, has: '"done":true' }),
  },
  {
    what: 'turns of the conversation of an account that is erased',
    where: ['DELETE /accounts/:id'],
    n: 100,
    prepare: (send, n, id) => send({ ...restore(n, id), path: `/accounts/${id}/conversations/${id}/backup` }),
    asks: (_, id) => ({ method: 'DELETE', path: `/accounts/${id}`, status: 202, isAwaited: true, has: '"done":true' }),
  },
  {
    what: 'calls of the edge in an answer that a conversation begins with',
    where: ['POST /conversations', 'POST /messages'],
    n: 500,
    asks: (n, id) => [
      {
        path: '/conversations',
        status: 201,
        body: { id, messages: [ASKED.messages[0], { role: 'assistant', content: times(n, edgeCall).flat() }] },
      },
      { path: '/messages', body: { ...ASKED, conversation: id } },
    ],
  },
  {
    what: 'messages of the turn before a fork',
    where: ['POST /conversations/:id/fork'],
    n: 100,
    prepare: begun,
    asks: (_, id) => ({ path: `/conversations/${id}/fork`, body: {}, status: 201 }),
  },
  {
    what: 'forks',
    where: ['POST /conversations/:id/fork'],
    n: 5,
    prepare: (send, _, id) => restored(send, 1, id),
    asks: (n, id) => times(n, () => ({ path: `/conversations/${id}/fork`, body: {}, status: 201 })),
  },
  {
    what: 'calls of tools, and their results',
    where: ['POST /messages'],
    n: 500,
    asks: (n, id) => ({
      path: '/messages',
      body: {
        ...ASKED,
        conversation: id,
        messages: [
          ASKED.messages[0],
          {
            role: 'assistant',
            content: times(n, (nth) => ({ type: 'tool_use', id: `toolu_${nth}`, name: 'a', input: {} })),
          },
          {
            role: 'user',
            content: times(n, (nth) => ({ type: 'tool_result', tool_use_id: `toolu_${nth}`, content: 'x' })),
          },
        ],
      },
    }),
  },
  {
    what: 'calls that wait for approval',
    where: ['POST /conversations/:id/approvals/:approval'],
    n: 12,
    most: 1_000,
    prepare: waiting,
    asks: (_, id, made) =>
      (JSON.parse(made) as { data: { id: string }[] }).data.map((call, nth, { length }) => ({
        path: `/conversations/${id}/approvals/${call.id}`,
        body: { decision: 'deny' },
        // With the last decision the run goes on.
        status: nth < length - 1 ? 200 : 202,
      })),
  },
  {
    what: 'calls that wait for approval, before a list of them',
    where: ['GET /conversations/:id/approvals'],
    n: 12,
    most: 1_000,
    prepare: waiting,
    asks: (_, id) => ({ method: 'GET', path: `/conversations/${id}/approvals` }),
  },
  {
    what: 'deltas of a turn',
    where: ['POST /messages'],
    n: 2_000,
    // No model says more in one answer.
    most: 64_000,
    asks: (n, id) => ({
      path: '/messages',
      body: { ...ASKED, stream: true, conversation: id },
      headers: { [ANSWER]: `deltas ${n}` },
    }),
  },
  {
    what: 'blocks of a turn',
    where: ['POST /messages'],
    n: 500,
    asks: (n, id) => ({
      path: '/messages',
      body: { ...ASKED, stream: true, conversation: id },
      headers: { [ANSWER]: `blocks ${n}` },
    }),
  },
  {
    what: 'events of a turn that is read again',
    where: ['GET /conversations/:id/stream'],
    n: 1_000,
    prepare: (send, n, id) =>
      send({
        path: '/messages',
        body: { ...ASKED, stream: true, conversation: id },
        headers: { [ANSWER]: `blocks ${n}` },
      }),
    asks: (_, id, made) => ({
      method: 'GET',
      path: `/conversations/${id}/stream?after=${/^id: (.*)-\d+$/m.exec(made)?.[1]}-0`,
    }),
  },
];
