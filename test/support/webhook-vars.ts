/** @returns the setting WEBHOOKS with one source, whose secret has the usual name. */
export const createWebhookVars = (source: string, more: { deliver_url?: string; agent?: string } = {}) => ({
  WEBHOOKS: JSON.stringify([{ source, secret: `${source.toUpperCase()}_WEBHOOK_SECRET`, ...more }]),
});
