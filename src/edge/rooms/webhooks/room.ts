import type { Room } from '../room.ts';
import { sourcesOf, webhookSettings } from './source-settings.ts';
import { createConsumer } from './webhook-job.ts';
import { webhooksRoutes } from './webhooks.route.ts';

/** Webhooks: events that are classified or answered. */
export const webhooksRoom: Room = {
  name: 'webhooks',
  openRoutes: (options) => [webhooksRoutes(options).receiving],
  routes: (options) => [webhooksRoutes(options).events],
  queue: createConsumer(),
  bindings: { INBOX: 'Inbox', QUEUE: null },
  settings: {
    schema: webhookSettings,
    check: sourcesOf,
    warnings: (settings) => sourcesOf(settings).outdated,
  },
};
