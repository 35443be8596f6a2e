/** Summaries and turns that race for a budget over HTTP: `test/edge/plugins/summaries/summaries.test.ts` has one after the other. */
import { expect, inject, test } from 'vitest';
import type { LedgerRow, QuotaReport } from '#edge/money/account/usage-answers.schema.ts';
import type { DeploymentReport } from '#edge/plugins/pools/pools-answers.schema.ts';
import { createKinds, sendOnce } from '#test/support/conversation-driver.ts';
import { startEdge } from '#test/support/edge.ts';
import { eventually } from '#test/support/eventually.ts';
import { startLocalServer } from '#test/support/local-server.ts';
import { postInit, RestartingEdge } from '#test/support/restarting-edge.ts';
import { createSettings, INSTRUCTIONS, startSummarizingApi } from '#test/support/summarizing-api.ts';

const LIMIT = 0.3;
const HISTORY = { max_tokens: 2_500, strategy: 'summarize', summary_max_tokens: 900, instructions: INSTRUCTIONS };
/** After so many refusals in a row a conversation ends. */
const MOST_REFUSED = 4;
const MOST_TURNS = 80;

const standingOf = {
  account: async (lives: RestartingEdge) => {
    const { total } = await lives.getJson<QuotaReport>('/accounts/dev');
    return total.settled_usd + total.held_usd;
  },
  deployment: async (lives: RestartingEdge) => {
    const { total } = await lives.getJson<DeploymentReport>('/pools/deployment');
    return total.spent_usd + total.leased_usd;
  },
};

test.each([
  { whose: 'account', name: 'DEFAULT_LIMITS' },
  { whose: 'deployment', name: 'DEPLOYMENT_LIMITS' },
] as const)(
  'summaries never exceed the budget of the $whose: turns are sent without them, or rejected',
  async ({ whose, name }) => {
    let vars: Record<string, string> = {};
    const lives = new RestartingEdge(() => startEdge(inject('worker'), vars));
    const tools = await startLocalServer(async (_, response) => {
      response.writeHead(200, { 'content-type': 'text/plain' }).end('The box is on shelf 7.');
    });
    const api = await startSummarizingApi(lives);
    vars = {
      ...createSettings(api.url, tools.url),
      HOLD_WAIT_MS: '50',
      [name]: JSON.stringify({ usd_total: LIMIT }),
    };
    const seen = { truncated: 0, refused: 0, waited: 0, answered: 0, most: 0 };
    const look = async () => {
      const taken = await standingOf[whose](lives);
      seen.most = Math.max(seen.most, taken);
      expect(taken).toBeLessThanOrEqual(LIMIT + 1e-9);
    };
    try {
      await lives.start();
      const talking = createKinds(tools.url).map(async ({ name: kind, creationBody: created, more = {}, says }) => {
        const id = `${kind}-0`;
        const { status } = await lives.requestUntilAnswered(
          '/conversations',
          postInit({ id, history: HISTORY, ...created }),
        );
        expect(status).toBeLessThan(300);
        for (let turn = 0, refused = 0; turn < MOST_TURNS && refused < MOST_REFUSED; turn += 1) {
          const text = `[${id}#${turn}] Box ${turn} has come. ${says?.(turn) ?? ''} ${'And so on. '.repeat(40)}`;
          const answer = await sendOnce(lives, id, text, { more });
          await look();
          if (answer.status === 200) {
            seen.answered += 1;
            refused = 0;
            if (answer.headers.get('sluice-history') === 'truncated') seen.truncated += 1;
            continue;
          }
          refused += 1;
          expect(answer.status, answer.text).toBe(429);
          // Where only the holds of others are in the way, it is told to come again.
          expect(answer.text).toMatch(/"type":"(billing_error|rate_limit_error)"/);
          if (answer.text.includes('billing_error')) seen.refused += 1;
          else seen.waited += 1;
        }
      });
      await Promise.all(talking);
      await eventually(async () => {
        const { running_requests, total } = await lives.getJson<QuotaReport>('/accounts/dev');
        expect({ running_requests, held: total.held_usd }).toEqual({ running_requests: 0, held: 0 });
      });
      await look();
      const ledger = await lives.getAllPages<LedgerRow>('/usage/requests');
      const booked = ledger.reduce((sum, { cost_usd }) => sum + cost_usd, 0);
      const billed = [...api.bills.values()].reduce((sum, bill) => sum + bill, 0);
      process.stdout.write(`${JSON.stringify({ whose, ...seen, made: api.made, booked, billed })}\n`);
      expect(booked).toBeCloseTo(billed, 6);
      expect(api.made.summaries).toBeGreaterThan(0);
      expect(seen.refused).toBeGreaterThan(0);
      expect(api.faults).toEqual([]);
      expect(lives.faults).toEqual([]);
    } finally {
      await lives.stop();
      for (const { stop } of [api, tools]) stop();
    }
  },
);
