/** The name of the inbox of alerts, with which their ids begin. No source of webhooks can have this name. */
export const ALERT_SOURCE = 'alert';
