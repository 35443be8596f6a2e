import type { Webhook } from './define.ts';
import { github } from './github.ts';
import { slack } from './slack.ts';
import { standard } from './standard-source.ts';
import { stripe } from './stripe.ts';

/** What the Worker takes without anybody writing code. A source whose secret is not set is closed. */
export const shippedWebhooks: readonly Webhook[] = [github, stripe, slack, standard];
