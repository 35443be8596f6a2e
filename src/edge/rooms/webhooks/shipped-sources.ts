/** The senders whose webhooks the Worker accepts as soon as their secret is set. A Worker around it may have others. */
export const SHIPPED_SOURCES = ['github', 'stripe', 'slack', 'standard'] as const;
