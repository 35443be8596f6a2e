import { parseSettingsOnce } from '../../config/settings.ts';
import { getInboxStub } from '../../durable/stubs.ts';
import { ALERT_SOURCE } from '../../money/alerts/alert-source.ts';
import type { Plugin } from '../plugin.ts';
import { ALERT_ROUTES } from './alerts.route.ts';
import { InboxList } from './inbox-list.ts';
import { sourcesOf, webhookSettings } from './source-settings.ts';
import { createUndeliveredMetrics, readUndeliveredProblems } from './undelivered.ts';
import { createConsumer } from './webhook-job.ts';
import { getWebhookSourceReader, WEBHOOK_ROUTES } from './webhooks.route.ts';

/** Webhooks: events that are classified or answered; and alerts, which are kept and delivered as they are. */
export const webhooks: Plugin = {
  name: 'webhooks',
  routes: [...WEBHOOK_ROUTES, ...ALERT_ROUTES],
  options: getWebhookSourceReader,
  queue: createConsumer,
  overview: readUndeliveredProblems,
  metrics: createUndeliveredMetrics,
  alertInbox: (env, alert) => getInboxStub(env, parseSettingsOnce(env), ALERT_SOURCE).acceptAlert(alert),
  account: {
    methods: {
      noteInbox(state, source) {
        new InboxList(state.ledger).recordInbox(source, state.advanceBudgetToNow());
        return { erasedUntil: state.erasedUntil };
      },
    },
    listKept: ({ ledger }) => new InboxList(ledger),
    erase: async ({ env }, { account, id: source }, until) =>
      (await getInboxStub(env, parseSettingsOnce(env), source).eraseAccountEvents(account, until)).done,
  },
  bindings: { INBOX: 'Inbox', QUEUE: null },
  settings: {
    schema: webhookSettings,
    check: sourcesOf,
  },
};
