import type { Webhook } from './define.ts';
import { github } from './github.ts';
import { slack } from './slack.ts';
import { standard } from './standard.ts';
import { stripe } from './stripe.ts';

/** What the Worker takes without anybody writing code, once its secret is set. */
export const shippedWebhooks: readonly Webhook[] = [github, stripe, slack, standard];
