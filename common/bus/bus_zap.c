/* SPDX-License-Identifier: Apache-2.0 */
/* Who may connect: ZAP (RFC 27) with the list of known keys. */
#include "common/base/array.h"
#include "common/bus/bus_internal.h"

#include <string.h>

enum {
    ZAP_VERSION,
    ZAP_REQUEST,
    ZAP_ITS_DOMAIN,
    ZAP_ADDRESS,
    ZAP_IDENTITY,
    ZAP_MECHANISM,
    ZAP_KEY,
    ZAP_FRAMES
};

static bool s_frame_is(zmq_msg_t *frame, const char *text)
{
    return zmq_msg_size(frame) == strlen(text) &&
           memcmp(zmq_msg_data(frame), text, strlen(text)) == 0;
}

static const struct bus_peer *
s_zap_peer(const struct cn_bus *self, zmq_msg_t *frames, size_t count)
{
    if (count != ZAP_FRAMES || !s_frame_is(&frames[ZAP_VERSION], "1.0") ||
        !s_frame_is(&frames[ZAP_MECHANISM], "CURVE") ||
        zmq_msg_size(&frames[ZAP_KEY]) != BUS_KEY_BYTES) {
        return NULL;
    }
    for (size_t i = 0; i < self->peer_count; i++) {
        if (memcmp(self->peers[i].key, zmq_msg_data(&frames[ZAP_KEY]),
                   BUS_KEY_BYTES) == 0) {
            return &self->peers[i];
        }
    }
    return NULL;
}

/* Frames: version, request id, status code, status text, user id, metadata. */
static void s_zap_answer(struct bus_socket *zap,
                         zmq_msg_t *request,
                         const struct bus_peer *peer)
{
    const char *texts[] = { "1.0",
                            NULL,
                            peer != NULL ? "200" : "400",
                            peer != NULL ? "OK" : "unknown key",
                            peer != NULL ? peer->name : "",
                            "" };
    enum { COUNT = CN_COUNT(texts) };
    for (size_t i = 0; i < COUNT; i++) {
        zmq_msg_t frame;
        struct cn_bytes bytes =
            i == 1 ? bus_frame_view(request)
                   : (struct cn_bytes){ (const uint8_t *)texts[i],
                                        strlen(texts[i]) };
        if (!bus_frame_bytes(&frame, bytes.data, bytes.size) ||
            !bus_send(zap, &frame, i + 1 < COUNT)) {
            return; /* the handshake times out */
        }
    }
}

bool bus_zap_drain(struct cn_bus *self)
{
    bool worked = false;
    while (self->zap.dirty) {
        zmq_msg_t frames[ZAP_FRAMES];
        size_t count = bus_receive(&self->zap, frames, ZAP_FRAMES);
        if (count == 0) {
            self->zap.dirty = false;
            break;
        }
        const struct bus_peer *peer = s_zap_peer(self, frames, count);
        if (peer == NULL) {
            self->stats.refused++;
        }
        zmq_msg_t none;
        (void)zmq_msg_init(&none);
        s_zap_answer(&self->zap,
                     count > ZAP_REQUEST ? &frames[ZAP_REQUEST] : &none, peer);
        (void)zmq_msg_close(&none);
        bus_frames_close(frames, count < ZAP_FRAMES ? count : ZAP_FRAMES);
        worked = true;
    }
    return worked;
}

enum cn_code bus_zap_init(struct cn_bus *self, struct cn_err *err)
{
    enum cn_code rc = bus_socket_open(self, &self->zap, ZMQ_REP, NULL, err);
    if (rc == CN_OK && zmq_bind(self->zap.zmq, "inproc://zeromq.zap.01") != 0) {
        rc = cn_fail(err, CN_INTERNAL, "bind ZAP: %s",
                     zmq_strerror(zmq_errno()));
    }
    return rc == CN_OK ? bus_socket_watch(&self->zap, err) : rc;
}
